"""Widgets. They draw what they are given; those that need more fetch it by a job of their own."""
