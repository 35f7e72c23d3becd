#include "textflag.h"

// func prefetch(at, lines uintptr)
TEXT ·prefetch(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ at+0(FP), AX
	MOVQ lines+8(FP), CX
	TESTQ CX, CX
	JEQ  done
line:
	PREFETCHT0 (AX)
	ADDQ $64, AX
	DECQ CX
	JNE  line
done:
	RET
