"""Pictures of graphs: a layered layout and plain SVG. Pure, without any dependency; flows and runs use the same."""
