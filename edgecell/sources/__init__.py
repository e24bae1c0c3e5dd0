"""Where frames come from. A new source is one module and one line in TABLE."""

TABLE = {
    "phantom": "edgecell.sources.phantom:PhantomSource",
    "images": "edgecell.sources.images:ImagesSource",
    "gstreamer": "edgecell.sources.gstreamer:GstreamerSource",
    "picamera2": "edgecell.sources.raspberry:PicameraSource",
    "basler": "edgecell.sources.basler:BaslerSource",
    "aravis": "edgecell.sources.aravis:AravisSource",
    "v4l2": "edgecell.sources.v4l2:V4l2Source",
}
