"""From weights to ONNX files, and from ONNX files to errors."""
