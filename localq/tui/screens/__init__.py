"""Screens. Each asks the services through a job and draws the answer with widgets."""
