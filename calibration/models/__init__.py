"""Networks made for INT8. A new one is one module and one line in TABLE."""

TABLE = {"resnet_int8": "calibration.models.resnet_int8:ResNetInt8"}
