/** Makes and finds elements. Text is always a catalogue's or a run's: nothing here turns a string into markup. */

export const at = (id) => document.getElementById(id);

/** A new element; attributes by name, `on` maps events to listeners, null leaves an attribute out. */
export function make(tag, attributes = {}, ...children) {
  const { on = {}, ...rest } = attributes;
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

/** A term and what it is, for a <dl>; inside `wrap` where one is named. */
export function pair(term, ...value) {
  return [make("dt", {}, term), make("dd", {}, ...value)];
}

/** Text only where it changed, so that a screen reader is not told the same thing each second. */
export function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** New children, only where `key` changed since the last time: what is the same keeps its focus and is not read out again. */
export function renew(element, key, children) {
  const seen = JSON.stringify(key);
  if (element.seen === seen) return;
  element.seen = seen;
  element.replaceChildren(...children());
}
