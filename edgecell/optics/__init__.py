"""What camera and objective do to a picture: um per pixel, flat field, white balance, and where exposure and focus belong."""
