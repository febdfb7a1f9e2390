"""Images: schedulers, pipelines, and the models that they run."""
