"""Where Spark meets the models: the session, the lake, Arrow batches and SQL functions."""
