using Kvm.Vmm.Completion;

namespace Kvm.Vmm.Tests.Completion;

/// <summary>A wrong "no" would lose state: whatever touches x87, vectors or XSAVE must be a yes.</summary>
public class InstructionBytesTests
{
    [Theory]
    [InlineData("9b", "fwait")]
    [InlineData("d96d00", "fldcw")]
    [InlineData("480fae2f", "xrstor64")]
    [InlineData("480fc727", "xsavec64")]
    [InlineData("0fae5500", "ldmxcsr")]
    [InlineData("660fefc0", "pxor")]
    [InlineData("f30f6f00", "movdqu")]
    [InlineData("c5f877", "vzeroupper")]
    [InlineData("62f17c4828c0", "vmovaps zmm")]
    [InlineData("0f01d0", "xgetbv")]
    [InlineData("0f77", "emms")]
    [InlineData("660f3800c1", "pshufb")]
    [InlineData("", "nothing told")]
    public void Extended_state_is_taken_along_for(string code, string what) =>
        InstructionBytes.MayUseExtendedState(Convert.FromHexString(code)).Should().BeTrue(what);

    [Theory]
    [InlineData("cc", "int3")]
    [InlineData("f3480fb8c1", "popcnt")]
    [InlineData("0f01ca", "clac")]
    [InlineData("f0480fc70f", "lock cmpxchg16b")]
    [InlineData("0f00e0", "verr")]
    [InlineData("660f02c1", "lar")]
    [InlineData("f30fbcc1", "tzcnt")]
    public void Extended_state_is_left_where_it_is_for(string code, string what) =>
        InstructionBytes.MayUseExtendedState(Convert.FromHexString(code)).Should().BeFalse(what);

    [Theory]
    [InlineData("0f01f9", true)]
    [InlineData("f30fc7f8", true)]
    [InlineData("0f32", true)]
    [InlineData("0f01ca", false)]
    [InlineData("cc", false)]
    public void Msrs_are_taken_along_for_what_reads_them(string code, bool expected) =>
        InstructionBytes.MayUseMsrs(Convert.FromHexString(code)).Should().Be(expected);
}
