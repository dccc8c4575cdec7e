"""What opens a .tflite file: targets of an export, sample apps and clients, delegates. The rules are rules.toml."""
