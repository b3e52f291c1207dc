"""Backends that quantize for GPUs: installed, listed, removed, looked after."""
