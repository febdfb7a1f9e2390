"""The networks of image pipelines, one file per class of diffusers."""
