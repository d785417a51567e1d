"""`fine_tune-high`: training on at a high learning rate, a row of `single_image` and `verdicts`."""

HIGH = "fine_tune-high"
RATE = 3  # its learning rate over that of the training
