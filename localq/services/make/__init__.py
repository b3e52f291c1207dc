"""What makes files of models: convert, quantize, imatrix."""
