"""The layouts of data sets, each as a `Layout` of sequences and frames."""
