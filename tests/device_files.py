"""Folders that look like a board's /sys, /proc and /etc, as its documentation or its owners' reports show them."""

from collections.abc import Mapping
from pathlib import Path

PI_5 = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51250\n",
    "sys/class/thermal/thermal_zone0/hwmon0/name": "cpu_thermal\n",
    "sys/class/thermal/thermal_zone0/hwmon0/temp1_input": "51250\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "2\n",
    "sys/class/hwmon/hwmon1/name": "rp1_adc\n",
    "sys/class/hwmon/hwmon1/temp1_input": "47100\n",
    "sys/class/hwmon/hwmon2/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon2/in0_lcrit_alarm": "0\n",
    "sys/bus/platform/drivers/raspberrypi-firmware/soc@107c000000:firmware/get_throttled": "0\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "ondemand\n",
    "proc/meminfo": "MemTotal:        8245344 kB\nMemAvailable:    6291456 kB\n",
}
"""A Raspberry Pi 5. Beside it `link_monitor` makes the thermal zone's monitor."""

ORIN_NANO = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "49781\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",
    "sys/class/thermal/thermal_zone10/type": "tj-thermal\n",
    "sys/class/thermal/thermal_zone10/temp": "51062\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "1\n",
    "sys/class/thermal/cooling_device1/type": "cpu-throttle-alert\n",
    "sys/class/thermal/cooling_device1/cur_state": "0\n",
    "sys/class/thermal/cooling_device2/type": "gpu-throttle-alert\n",
    "sys/class/thermal/cooling_device2/cur_state": "0\n",
    "sys/class/thermal/cooling_device3/type": "devfreq-17000000.gpu\n",
    "sys/class/thermal/cooling_device3/cur_state": "0\n",
    "sys/class/hwmon/hwmon4/name": "soctherm_oc\n",
    "sys/class/hwmon/hwmon4/oc1_event_cnt": "0\n",
    "sys/class/hwmon/hwmon4/oc3_event_cnt": "7\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "etc/nvpmodel.conf": "# modes\n< POWER_MODEL ID=0 NAME=15W >\nCORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    "var/lib/nvpmodel/status": "pmode:0000\n",
}
MINI_PC = {
    "sys/class/thermal/thermal_zone0/type": "acpitz\n",
    "sys/class/thermal/thermal_zone0/temp": "27800\n",
    "sys/class/thermal/thermal_zone1/type": "acpitz\n",
    "sys/class/thermal/thermal_zone1/temp": "29800\n",
    "sys/class/thermal/thermal_zone2/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone2/temp": "61000\n",
    "sys/class/thermal/cooling_device0/type": "Processor\n",
    "sys/class/thermal/cooling_device0/cur_state": "0\n",
    "sys/class/thermal/cooling_device5/type": "TCC Offset\n",
    "sys/class/thermal/cooling_device5/cur_state": "10\n",
    "sys/class/thermal/cooling_device6/type": "intel_powerclamp\n",
    "sys/class/thermal/cooling_device6/cur_state": "-1\n",
    "sys/class/hwmon/hwmon2/name": "nvme\n",
    "sys/class/hwmon/hwmon2/temp1_input": "38850\n",
    "sys/class/hwmon/hwmon2/temp1_label": "Composite\n",
    "sys/class/hwmon/hwmon2/temp3_input": "255000\n",
    "sys/class/hwmon/hwmon2/temp3_label": "Sensor 2\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "12\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/cpufreq/policy1/scaling_governor": "powersave\n",
    "sys/firmware/acpi/platform_profile": "balanced\n",
}


def laid_out(root: Path, files: Mapping[str, str]) -> Path:
    """The files below `root`, overwritten where they are there already."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def link_monitor(root: Path) -> None:
    """The monitor that the kernel makes of thermal zone 0: it lies inside it, and points back."""
    (root / "sys/class/thermal/thermal_zone0/hwmon0/device").symlink_to("..")
    (root / "sys/class/hwmon/hwmon0").symlink_to("../thermal/thermal_zone0/hwmon0")
