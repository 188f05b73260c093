/** The dialog in which an image is rejected. */

import { made, the } from "./page.ts";
import type { RejectReasonJson } from "./protos/canicor/labeling/v1/labeling_pb.ts";

export const REASONS: Readonly<Partial<Record<RejectReasonJson, string>>> = {
  REJECT_REASON_POOR_IMAGE: "Poor image: blurred, cut off, too dark or too bright",
  REJECT_REASON_NOT_LATERAL: "Not a lateral view",
  REJECT_REASON_NOT_A_DOG: "Not a dog",
  REJECT_REASON_OTHER: "Something else: say what",
};

export class RejectDialog {
  private readonly dialog = the<HTMLDialogElement>("#reject");
  private readonly remark = the<HTMLInputElement>("#reject input[name=comment]");

  /** @param rejected Told the reason, and the remark. */
  constructor(rejected: (reason: RejectReasonJson, comment: string) => void) {
    for (const [index, [reason, title]] of Object.entries(REASONS).entries()) {
      const button = made("button", { value: reason }, made("kbd", {}, String(index + 1)), title);
      button.addEventListener("click", (event) => {
        this.remark.required = reason === "REJECT_REASON_OTHER";
        if (!this.remark.reportValidity()) event.preventDefault();
      });
      the("#reasons").append(button);
    }
    this.dialog.addEventListener("keydown", (event) => {
      const button = this.dialog.querySelectorAll<HTMLButtonElement>("#reasons button")[Number(event.key) - 1];
      if (!button || event.target === this.remark) return;
      event.preventDefault();
      button.click();
    });
    this.dialog.addEventListener("close", () => {
      const reason = this.dialog.returnValue as RejectReasonJson | "";
      if (reason) rejected(reason, this.remark.value);
    });
  }

  open(): void {
    the<HTMLFormElement>("#reject form").reset();
    this.dialog.returnValue = "";
    this.dialog.showModal();
  }
}
