// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"encoding/json"
	"strings"
)

// write puts signatures and fields together as the provider sends them.
func (c *collector) write(fields []field, signatures []candidate) string {
	if c.Format == Detached {
		return fields[0].value + ".." + signatures[0].text
	}
	if c.Format == Base64JSON {
		object := map[string]string{c.Tag: c.Prefix + signatures[0].text}
		for _, f := range fields {
			object[f.name] = f.value
		}
		text, _ := json.Marshal(object) //nolint:errchkjson // strings can always be written
		return Base64.encode(text)
	}
	var elements []string
	for _, f := range fields {
		if c.Format == Positional {
			elements = append(elements, f.value)
		} else {
			elements = append(elements, f.name+"="+c.quote(f.value))
		}
	}
	for _, sig := range signatures {
		switch c.Format {
		case KeyValue:
			elements = append(elements, c.Tag+"="+c.quote(c.Prefix+sig.text))
		case Tagged:
			elements = append(elements, sig.tag+","+c.Prefix+sig.text)
		case Pairs:
			elements = append(elements, sig.tag+"|"+sig.text)
		default:
			elements = append(elements, c.Prefix+sig.text)
		}
	}
	return strings.Join(elements, c.Separator)
}

// quote puts a value in quotes where the provider does.
func (c *collector) quote(value string) string {
	if c.Quoted {
		return `"` + value + `"`
	}
	return value
}
