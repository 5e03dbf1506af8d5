"""The survey's document: each part of it tells the same of one subject."""

from __future__ import annotations

from harness.core.capture import Capture
from harness.rules.survey import Source, UsbController, survey_of
from tests.captures import CARD, INTEL_BOARD, Files, group, make_capture

SOURCE = Source("capture", "a test")
LISTED: Files = {
    "commands/lspci": "01:00.0 USB controller [0c03]: Cards Ltd. Card [c0c0:0194] (prog-if 30 [XHCI])\n",
    "commands/iommu-groups": "1 0000:01:00.0\n1 0000:01:00.1\n",
}


def controller_in(capture: Capture) -> UsbController:
    """Return the only USB controller of a capture's survey."""
    (controller,) = survey_of(capture, SOURCE).usb_controllers
    return controller


def test_survey_group_members_by_a_listing() -> None:
    """A member of the group that only the list of groups names is a member, in the document as in the blast radius."""
    controller = controller_in(make_capture(LISTED))

    assert (controller.group, controller.group_members) == ("1", ("0000:01:00.1",))
    assert "0000:01:00.1" in controller.blast_radius


def test_survey_group_members_by_sysfs() -> None:
    """A group that sysfs shows has the members that it shows, a function without any other file among them."""
    controller = controller_in(make_capture(INTEL_BOARD, group("2", CARD["intel"], "0000:02:00.0")))

    assert (controller.group, controller.group_members) == ("2", ("0000:02:00.0",))
