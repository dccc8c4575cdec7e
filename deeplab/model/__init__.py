"""The network, in keras and keras.ops alone."""
