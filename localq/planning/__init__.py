"""The memory a model takes, and the plan for loading it on a machine."""
