"""What is changed in libcamera's virtual camera before it is built, so that it can be used as a camera module.

As it comes (0.7.2) it gives NV12 only, as fast as buffers come back, whatever it is asked. Changed, it gives BGR888, keeps to
the frame duration, knows exposure, gain and colour gains, tells of them with each frame, and is silent while UNPLUGGED exists.
"""

from pathlib import Path

UNPLUGGED = Path("/dev/shm/edgecell-unplugged")  # noqa: S108 the virtual camera looks for it there
FOLDER = Path("src/libcamera/pipeline/virtual")

ASKED = """
	if (!access("UNPLUGGED", F_OK))
		return; /* as when a cable is out: it never completes */
	asked_.merge(request->controls(), ControlList::MergePolicy::OverwriteExisting);
	const auto limits = asked_.get(controls::FrameDurationLimits);
	const int64_t duration = limits ? (*limits)[0] : 33333;
	due_ = std::max(due_ + std::chrono::microseconds(duration), std::chrono::steady_clock::now());
	std::this_thread::sleep_until(due_);
	ControlList &told = request->_d()->metadata();
	told.set(controls::SensorTimestamp, currentTimestamp());
	told.set(controls::FrameDuration, duration);
	told.set(controls::ExposureTime, static_cast<int32_t>(std::min<int64_t>(
		asked_.get(controls::ExposureTime).value_or(9980), duration)));
	told.set(controls::AnalogueGain, std::min(asked_.get(controls::AnalogueGain).value_or(1.0f), 16.0f));
	const auto gains = asked_.get(controls::ColourGains);
	told.set(controls::ColourGains, { gains ? (*gains)[0] : 1.7f, gains ? (*gains)[1] : 1.5f });
""".replace("UNPLUGGED", str(UNPLUGGED))

OFFERED = """
		controls[&controls::ExposureTime] = ControlInfo(1, 10000000, 9980);
		controls[&controls::ExposureTimeMode] = ControlInfo(0, 1, 0);
		controls[&controls::AnalogueGain] = ControlInfo(1.0f, 16.0f, 1.0f);
		controls[&controls::AnalogueGainMode] = ControlInfo(0, 1, 0);
		controls[&controls::AwbEnable] = ControlInfo(false, true, true);
		controls[&controls::ColourGains] = ControlInfo(0.0f, 32.0f, 1.0f);
"""

EDITS = (
    ("virtual.cpp", "formats::NV12", "formats::BGR888"),
    ("virtual.cpp", "ColorSpace::Rec709", "ColorSpace::Srgb"),
    ("virtual.cpp", "case StreamRole::Raw:", "case StreamRole::Raw:\n\t\t\tbreak;"),
    ("virtual.cpp", "#include <time.h>", "#include <thread>\n#include <time.h>\n#include <unistd.h>"),
    ("virtual.cpp", "::processRequest(Request *request)\n{", "::processRequest(Request *request)\n{" + ASKED),
    ("virtual.cpp", "request->_d()->metadata().set(controls::SensorTimestamp, timestamp);", ""),
    ("virtual.cpp", "const auto timestamp = currentTimestamp();", ""),
    ("virtual.cpp", "[[maybe_unused]] const ControlList *controls)", "const ControlList *controls)"),
    ("virtual.cpp", "s.seq = 0;", "s.seq = 0;\n\tdata->asked_ = controls ? *controls : ControlList(controls::controls);"),
    ("virtual.h", "unsigned int seq = 0;\n\t};", "unsigned int seq = 0;\n\t};\n\tControlList asked_;\n\tTimePoint due_;"),
    ("virtual.h", "TimePoint", "std::chrono::steady_clock::time_point"),
    ("virtual.h", "#include <string>", "#include <chrono>\n#include <string>"),
    ("config_parser.cpp", "data->controlInfo_ =", OFFERED + "data->controlInfo_ ="),
    ("test_pattern_generator.cpp", "ARGBToNV12(template_", "ARGBToRAW(template_"),
    ("test_pattern_generator.cpp", "planes[0].data(), size.width,", "planes[0].data(), size.width * 3,"),
    ("test_pattern_generator.cpp", "planes[1].data(), size.width,", ""),
)
"""File, what stands there, what is put in its place wherever it stands."""


def edit(sources: Path) -> None:
    """Change libcamera's sources in that folder. Raises ValueError where they are not those that this was made for."""
    for name, old, new in EDITS:
        file = sources / FOLDER / name
        text = file.read_text(encoding="utf-8")
        if old not in text:
            raise ValueError(f"{file}: has no {old!r}: another libcamera than 0.7.2?")
        file.write_text(text.replace(old, new), encoding="utf-8")
