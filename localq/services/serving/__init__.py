"""Answering requests for others: which models there are, and what a request makes of them."""
