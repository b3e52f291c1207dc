"""Ollama's API, for the many editors that know no other:
https://github.com/ollama/ollama/blob/main/docs/api.md"""
