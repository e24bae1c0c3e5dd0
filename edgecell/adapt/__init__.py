"""A bundle for one's own microscope, from 10 to 100 labelled cells, on the device's CPU and without a training framework.

adapting     the whole of it
labelled     a folder of class folders -> crops and labels
layer        the last layer; the class means and spread of training features
normalise    how far the new microscope's features lie beside the old one's
refit        the last layer refitted, with a prior around one that is good already
absent       stand-ins for classes without a labelled cell
choose       several starts and strengths of the prior, averaged by how well they answer held-out cells
confidence   temperature and threshold, and what few cells can say about them
report       what was gained, on cells held out
onnxfile     reads and writes the last layer of ONNX files (needs the extra `adapt`)
rebundle     the new bundle: weights, golden cells, card, manifest
"""
