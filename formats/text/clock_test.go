package text

import "testing"

func TestTimeOfDay(t *testing.T) {
	for in, want := range map[string]string{
		"00:00:00": "00:00:00", "23:59:59.999999": "23:59:59.999999", "01:02": "01:02:00", "01:02:03.5": "01:02:03.5", "01:02:03.004": "01:02:03.004", "01:02:03.1234567": "01:02:03.123456",
		"24:00:00": "", "1:00:00": "", "01:60:00": "", "01:00:00.": "", "01:00:0x": "", "": "", "01": "", "01:02:03.x": "", "01-02": "",
	} {
		v, err := ParseTimeOfDay([]byte(in))
		if (err == nil) != (want != "") {
			t.Errorf("%q: %v", in, err)
		} else if got := string(AppendTimeOfDay(nil, v)); err == nil && got != want {
			t.Errorf("%q is written as %q, want %q", in, got, want)
		}
	}
}
