using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Tests.Snapshot;

public sealed class StateRecordTests
{
    [Fact]
    public void Fields_read_back_in_the_order_they_were_written()
    {
        var writer = new StateWriter();
        writer.U8(0x12);
        writer.Bool(true);
        writer.U16(0x3456);
        writer.U32(0x789abcde);
        writer.U64(0x0102030405060708);
        writer.Bytes([9, 8, 7]);
        writer.Bytes([]);
        writer.Bool(false);

        var reader = new StateReader(writer.Written);
        reader.U8().Should().Be(0x12);
        reader.Bool().Should().BeTrue();
        reader.U16().Should().Be(0x3456);
        reader.U32().Should().Be(0x789abcde);
        reader.U64().Should().Be(0x0102030405060708);
        reader.Bytes(3).ToArray().Should().Equal(9, 8, 7);
        reader.Bytes(0).Length.Should().Be(0);
        reader.Complete.Should().BeFalse();
        reader.Bool().Should().BeFalse();
        reader.Complete.Should().BeTrue();
    }

    [Fact]
    public void Record_is_little_endian()
    {
        var writer = new StateWriter();
        writer.U32(0x01020304);
        writer.Bytes([0xff]);
        writer.Written.ToArray().Should().Equal(4, 3, 2, 1, 1, 0, 0, 0, 0xff);
    }

    [Fact]
    public void Reading_past_the_end_gives_zeros_and_fails_for_good()
    {
        var reader = new StateReader([1, 2, 3]);
        reader.U32().Should().Be(0);
        reader.Failed.Should().BeTrue();
        reader.U8().Should().Be(0, "a failed reader gives nothing more");
        reader.Complete.Should().BeFalse();
    }

    [Theory]
    [InlineData(5u)]
    [InlineData(0x8000_0000u)]
    [InlineData(uint.MaxValue)]
    public void Length_larger_than_allowed_or_than_the_record_fails(uint length)
    {
        var writer = new StateWriter();
        writer.U32(length);
        writer.U32(0);
        var strict = new StateReader(writer.Written);
        strict.Bytes(4).Length.Should().Be(0);
        strict.Failed.Should().BeTrue();
        var lenient = new StateReader(writer.Written);
        lenient.Bytes(int.MaxValue).Length.Should().Be(0);
        lenient.Failed.Should().BeTrue();
    }

    [Fact]
    public void Large_record_grows_without_loss()
    {
        var writer = new StateWriter();
        for (uint i = 0; i < 100_000; i++)
            writer.U32(i);
        var reader = new StateReader(writer.Written);
        for (uint i = 0; i < 100_000; i++)
        {
            if (reader.U32() != i)
                Assert.Fail($"field {i} is wrong");
        }

        reader.Complete.Should().BeTrue();
    }
}
