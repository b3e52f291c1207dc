"""Measurements beside the peer, in the same run on the same machine. Nothing here is a test."""
