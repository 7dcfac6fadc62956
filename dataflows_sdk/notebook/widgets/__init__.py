"""Live views for notebooks, on anywidget. `static` is what they run in the page: written by hand, shipped as it is."""
