// Rectangles that come in any order, in groups, as the text of one path for each group. Lengths across are hundredths of a
// pixel. Digits go straight into bytes: with a string for each number, a zoom takes twice the time.
const decoder = new TextDecoder(), [byteM, blank, zero, byteH, byteV, minus, byteZ] = new TextEncoder().encode("M 0hv-z");
const rectangles = {
  count: 0, group: new Int32Array(0), left: new Int32Array(0), wide: new Int32Array(0), bytes: new Uint8Array(1 << 12),
  begin(limit) {
    this.count = 0;
    if (this.group.length < limit) for (const part of ["group", "left", "wide"]) this[part] = new Int32Array(limit);
  },
  add(group, x, width) {
    this.group[this.count] = group;
    this.left[this.count] = Math.round(x * 100);
    this.wide[this.count++] = Math.round(width * 100);
  },
  // The text of each of this many groups; all rectangles are this high.
  texts(groups, height) {
    const first = new Int32Array(groups + 1), order = new Int32Array(this.count);
    for (let index = 0; index < this.count; index++) first[this.group[index] + 1]++;
    for (let group = 0; group < groups; group++) first[group + 1] += first[group];
    const next = first.slice();
    for (let index = 0; index < this.count; index++) order[next[this.group[index]]++] = index;
    const texts = new Array(groups).fill("");
    for (let group = 0; group < groups; group++) {
      if (first[group] < first[group + 1]) texts[group] = this.text(order.subarray(first[group], first[group + 1]), height);
    }
    return texts;
  },
  // Every rectangle in this order: `M left 0h wide v height h-wide z`.
  text(order, height) {
    if (this.bytes.length < order.length * 48) this.bytes = new Uint8Array(order.length * 64);
    const bytes = this.bytes, { left, wide } = this;
    let at = 0;
    const number = (value) => {
      let end = at + 1;
      for (let rest = value; rest >= 10; rest = rest / 10 | 0) end++;
      at = end;
      do { bytes[--end] = zero + value % 10; value = value / 10 | 0; } while (value > 0);
    };
    for (const index of order) {
      bytes[at++] = byteM;
      number(left[index]);
      bytes[at++] = blank;
      bytes[at++] = zero;
      bytes[at++] = byteH;
      number(wide[index]);
      bytes[at++] = byteV;
      number(height);
      bytes[at++] = byteH;
      bytes[at++] = minus;
      number(wide[index]);
      bytes[at++] = byteZ;
    }
    return decoder.decode(bytes.subarray(0, at));
  },
};
