using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Platform;

public sealed class SerialPumpTests
{
    [Fact]
    public async Task Hundred_thousand_bytes_pumped_from_another_thread_arrive_in_order_and_complete()
    {
        const int Total = 100_000;
        using var space = new SemaphoreSlim(0);
        using var data = new SemaphoreSlim(0);
        var line = new SignallingLine(data);
        var port = new Serial16550("serial0", line, new RecordingSink());
        port.InputSpaceAvailable += () => space.Release();
        port.Out8(2, 0x81);
        port.Out8(1, 0x01);

        var host = Task.Run(async () =>
        {
            byte[] bytes = [.. Enumerable.Range(0, Total).Select(i => unchecked((byte)(i * 7)))];
            int at = 0;
            while (at < Total)
            {
                int asked = Math.Min(10_000, Total - at);
                int accepted = port.Receive(bytes.AsSpan(at, asked));
                at += accepted;
                if (accepted < asked)
                    (await space.WaitAsync(TimeSpan.FromSeconds(30))).Should().BeTrue("the guest has read half of the queue");
            }
        });

        int received = 0;
        while (received < Total)
        {
            (await data.WaitAsync(TimeSpan.FromSeconds(30))).Should().BeTrue("the interrupt was raised");
            while ((port.In8(5) & 1) != 0)
            {
                if (port.In8(0) != unchecked((byte)(received++ * 7)))
                    Assert.Fail($"byte {received - 1} is wrong");
            }
        }

        await host;
        port.BytesReceived.Should().Be(Total);
        line.Asserted.Should().BeFalse();
    }

    private sealed class SignallingLine(SemaphoreSlim risen) : Kvm.Devices.Interrupts.IInterruptLine
    {
        public bool Asserted { get; private set; }

        public void Set(bool asserted)
        {
            if (asserted && !Asserted)
                risen.Release();
            Asserted = asserted;
        }
    }

    [Fact]
    public async Task Sink_that_blocks_delays_neither_input_nor_other_registers()
    {
        using var release = new ManualResetEventSlim();
        using var entered = new ManualResetEventSlim();
        var port = new Serial16550("serial0", new RecordingLine(), new BlockingSink(entered, release));
        var writer = Task.Run(() => port.Out8(0, 'x'));
        entered.Wait(TimeSpan.FromSeconds(30)).Should().BeTrue();

        await Task.Run(() =>
        {
            port.Receive("y"u8).Should().Be(1);
            port.In8(5).Should().Be(0x61);
        }).WaitAsync(TimeSpan.FromSeconds(30));
        writer.IsCompleted.Should().BeFalse();
        release.Set();
        await writer.WaitAsync(TimeSpan.FromSeconds(30));
    }

    private sealed class BlockingSink(ManualResetEventSlim entered, ManualResetEventSlim release) : ISerialSink
    {
        public void Write(ReadOnlySpan<byte> bytes)
        {
            entered.Set();
            release.Wait(TimeSpan.FromSeconds(60));
        }
    }
}
