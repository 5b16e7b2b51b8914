"""Logger `mlflow` of cryoreg. Installing this package is all that is needed."""
