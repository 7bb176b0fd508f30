// The settings in a picture of pinxit, as JSON: in the text chunk "pinxit" of a PNG, in the EXIF tag ImageDescription of
// a JPEG or a WebP. null for any other file.

export function readSettings(buffer) {
  const view = new DataView(buffer);
  try {
    const bytes = inPng(view) ?? inJpeg(view) ?? inWebp(view);
    // JavaScript rounds integers beyond 2^53: longer seeds are kept as text.
    const found = bytes && JSON.parse(new TextDecoder().decode(bytes).replace(/"seed":\s*(\d{16,})/, '"seed":"$1"'));
    return found instanceof Object ? found : null;
  } catch { return null; } // it ends too early, or says something else
}

const part = (view, at, length) => new Uint8Array(view.buffer, view.byteOffset + at, length);
const letters = (view, at, count) => String.fromCharCode(...part(view, at, count));

function inPng(view) {
  if (view.getUint32(0) !== 0x89504e47) return null;
  for (let at = 8; at + 12 <= view.byteLength; at += 12 + view.getUint32(at)) {
    if (letters(view, at + 4, 4) !== "iTXt") continue;
    const bytes = part(view, at + 8, view.getUint32(at));
    const end = bytes.indexOf(0);
    if (new TextDecoder().decode(bytes.subarray(0, end)) === "pinxit" && bytes[end + 1] === 0) {
      return bytes.subarray(bytes.indexOf(0, bytes.indexOf(0, end + 3) + 1) + 1);
    }
  }
  return null;
}

function inJpeg(view) {
  if (view.getUint16(0) !== 0xffd8) return null;
  for (let at = 2; view.getUint8(at) === 0xff && view.getUint8(at + 1) !== 0xda; at += 2 + view.getUint16(at + 2)) {
    if (view.getUint8(at + 1) === 0xe1 && letters(view, at + 4, 4) === "Exif") return inExif(view, at + 10);
  }
  return null;
}

function inWebp(view) {
  if (letters(view, 0, 4) !== "RIFF" || letters(view, 8, 4) !== "WEBP") return null;
  for (let at = 12; at + 8 <= view.byteLength; at += 8 + view.getUint32(at + 4, true) + view.getUint32(at + 4, true) % 2) {
    if (letters(view, at, 4) === "EXIF") return inExif(view, at + (letters(view, at + 8, 4) === "Exif" ? 14 : 8));
  }
  return null;
}

// A TIFF file, whose first directory has the tag.
function inExif(view, start) {
  const little = letters(view, start, 2) === "II";
  const directory = start + view.getUint32(start + 4, little);
  for (let entry = 0; entry < view.getUint16(directory, little); entry += 1) {
    const at = directory + 2 + 12 * entry;
    if (view.getUint16(at, little) !== 0x010e) continue;
    const length = view.getUint32(at + 4, little);
    const bytes = part(view, length > 4 ? start + view.getUint32(at + 8, little) : at + 8, length);
    return bytes.subarray(0, bytes.indexOf(0) < 0 ? length : bytes.indexOf(0)); // text ends with a zero
  }
  return null;
}
