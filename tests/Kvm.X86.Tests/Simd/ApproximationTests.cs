using Kvm.X86.Execute.Simd;
using Kvm.X86.Float;

namespace Kvm.X86.Tests.Simd;

/// <summary>RCPPS and RSQRTPS: the manual's bound on the error, and the exact special cases.</summary>
public class ApproximationTests
{
    [Fact]
    public void RelativeErrorStaysBelowTheManualsBound()
    {
        Random random = new(5);
        for (int i = 0; i < 20000; i++)
        {
            float value = BitConverter.UInt32BitsToSingle(((uint)random.Next() & 0x7FFFFF) | ((uint)random.Next(10, 240) << 23));
            uint flags = 0;
            double reciprocal = BitConverter.UInt32BitsToSingle((uint)ReciprocalFloat.Apply<SingleFormat>(0, BitConverter.SingleToUInt32Bits(value), 0, 0x1F80, ref flags));
            double root = BitConverter.UInt32BitsToSingle((uint)ReciprocalRootFloat.Apply<SingleFormat>(0, BitConverter.SingleToUInt32Bits(value), 0, 0x1F80, ref flags));
            Math.Abs((reciprocal * value) - 1).Should().BeLessThan(1.5 / 4096);
            Math.Abs((root * Math.Sqrt(value)) - 1).Should().BeLessThan(1.5 / 4096);
            flags.Should().Be(0);
        }
    }

    [Theory]
    [InlineData(0x00000000u, 0x7F800000u, 0x7F800000u)]
    [InlineData(0x80000000u, 0xFF800000u, 0xFF800000u)]
    [InlineData(0x00000001u, 0x7F800000u, 0x7F800000u)]
    [InlineData(0x7F800000u, 0x00000000u, 0x00000000u)]
    [InlineData(0xFF800000u, 0x80000000u, 0xFFC00000u)]
    [InlineData(0x7F800001u, 0x7FC00001u, 0x7FC00001u)]
    [InlineData(0xBF800000u, 0xBF800000u, 0xFFC00000u)]
    [InlineData(0x7F7FFFFFu, 0x00000000u, 0x1F800000u)]
    public void SpecialOperands(uint operand, uint reciprocal, uint root)
    {
        uint flags = 0;
        ReciprocalFloat.Apply<SingleFormat>(0, operand, 0, 0x1F80, ref flags).Should().Be(reciprocal);
        ReciprocalRootFloat.Apply<SingleFormat>(0, operand, 0, 0x1F80, ref flags).Should().Be(root);
        flags.Should().Be(0);
    }
}
