"""Object queries made of the text, in a transformer on a ResNet's last map."""
