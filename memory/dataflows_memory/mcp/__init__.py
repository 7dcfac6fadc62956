"""Tools as an MCP server, over standard input and output or HTTP."""

from dataflows_memory.mcp.server import KEY, mcp_server, serve_http, serve_stdio

__all__ = ["KEY", "mcp_server", "serve_http", "serve_stdio"]
