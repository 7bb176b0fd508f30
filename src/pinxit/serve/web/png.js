// What a PNG of ours tells of how it was made: the text chunk "pinxit", JSON.

export function making(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 20 || view.getUint32(0) !== 0x89504e47) return null;
  for (let at = 8; at + 12 <= buffer.byteLength;) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...new Uint8Array(buffer, at + 4, 4));
    if (kind === "iTXt" && at + 12 + length <= buffer.byteLength) {
      const bytes = new Uint8Array(buffer, at + 8, length);
      const end = bytes.indexOf(0);
      if (new TextDecoder().decode(bytes.subarray(0, end)) === "pinxit" && bytes[end + 1] === 0) {
        const language = bytes.indexOf(0, end + 3);
        const start = bytes.indexOf(0, language + 1) + 1;
        // JavaScript rounds whole numbers beyond 2^53: a longer seed stays the text that it is.
        const text = new TextDecoder().decode(bytes.subarray(start)).replace(/"seed":\s*(\d{16,})/, '"seed":"$1"');
        try { return JSON.parse(text); } catch { return null; }
      }
    }
    at += 12 + length;
  }
  return null;
}
