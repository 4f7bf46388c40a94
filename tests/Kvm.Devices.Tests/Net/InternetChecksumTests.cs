using System.Buffers.Binary;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Net;

namespace Kvm.Devices.Tests.Net;

/// <summary>Sums that are changed by a difference are those of the changed bytes.</summary>
public sealed class InternetChecksumTests
{
    [Fact]
    public void Example_of_RFC_1071_comes_out() =>
        InternetChecksum.Fold(InternetChecksum.Add([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])).Should().Be(0xddf2);

    [Fact]
    public void Example_of_RFC_1624_comes_out() => InternetChecksum.Update(0xdd2f, 0x5555, 0x3285).Should().Be(0x0000);

    [Fact]
    public void Odd_byte_is_the_upper_half_of_a_word() => InternetChecksum.Add([1, 2, 3]).Should().Be(0x0102 + 0x0300);

    [Fact]
    public void A_checksum_changed_by_the_difference_is_right() => Check.One(Config.QuickThrowOnFailure.WithMaxTest(500), Prop.ForAll(
        (from bytes in Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(40)
         from now in Gen.Choose(int.MinValue, int.MaxValue)
         from at in Gen.Choose(0, 8)
         select (bytes, (uint)now, 4 * at)).ToArbitrary(),
        x =>
        {
            var (bytes, now, at) = x;
            ushort before = InternetChecksum.Of(bytes);
            uint old = BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(at));
            ushort sum = InternetChecksum.UpdateSum(InternetChecksum.Fold(InternetChecksum.Add(bytes)), old, now);
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at), now);
            // Either zero of ones' complement is right: a receiver adds them up.
            return InternetChecksum.Fold(InternetChecksum.Add(bytes, InternetChecksum.Update(before, old, now))) == 0xffff
                && InternetChecksum.Fold((ulong)(ushort)~sum + InternetChecksum.Add(bytes)) == 0xffff;
        }));
}
