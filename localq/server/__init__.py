"""The server: what programs that speak to a model expect, over HTTP."""
