"""Two engines, or two encodings of a model, beside each other: on a bundle's golden cells and on images of the user's.

Nothing is refused here: an engine whose golden cells fail is compared all the same, so that it can be seen where it is wrong.
"""
