"""Network parts: convolution stacks and critics."""
