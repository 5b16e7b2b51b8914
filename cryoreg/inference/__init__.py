"""What uses a trained network: evaluation, predictions, features, export."""
