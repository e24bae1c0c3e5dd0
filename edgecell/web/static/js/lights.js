/** What the focus and exposure lights say, from the latest frame's verdict or, without a preview, from what the gate refused. */

const FOCUS = ["blurred"];
const EXPOSURE = ["dark", "overexposed"];

/**
 * focus, exposure: each {state: "good" | "poor" | "unknown", reason: word of the gate or ""}.
 * counts, before: the latest counts messages; between them the gate's reasons rose, or frames were processed.
 */
export function lights(preview, counts, before) {
  const refused = preview ? [preview.reason].filter(Boolean) : risen(counts, before);
  const seen = preview ? true : refused.length > 0 || (before ? counts.frames.processed > before.frames.processed : Boolean(counts?.frames.processed));
  return { focus: light(FOCUS, refused, seen && !refused.some((each) => EXPOSURE.includes(each))), exposure: light(EXPOSURE, refused, seen) };
}

function light(reasons, refused, seen) {
  const reason = refused.find((each) => reasons.includes(each)) ?? "";
  return { state: reason ? "poor" : seen ? "good" : "unknown", reason };
}

/** The gate's reasons that came more often in the latest window. */
function risen(counts, before) {
  const [now, then] = [counts?.gated_reasons ?? {}, before?.gated_reasons ?? {}];
  return before ? Object.keys(now).filter((reason) => now[reason] > (then[reason] ?? 0)) : [];
}
