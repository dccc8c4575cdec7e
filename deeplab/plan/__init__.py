"""The plan of a training on the user's own data: settings that follow from the data and the machine."""
