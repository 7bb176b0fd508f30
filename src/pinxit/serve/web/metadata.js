// The settings in a PNG of pinxit: JSON in its text chunk "pinxit".

export function readSettings(buffer) {
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
        // JavaScript rounds integers beyond 2^53: longer seeds are kept as text.
        const text = new TextDecoder().decode(bytes.subarray(start)).replace(/"seed":\s*(\d{16,})/, '"seed":"$1"');
        try { return JSON.parse(text); } catch { return null; }
      }
    }
    at += 12 + length;
  }
  return null;
}
