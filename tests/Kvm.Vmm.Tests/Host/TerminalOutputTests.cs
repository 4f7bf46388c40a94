using System.Collections.Concurrent;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Tests.Host;

public class TerminalOutputTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    private sealed class Target : IConsoleTarget
    {
        public readonly ManualResetEventSlim Open = new(initialState: true);
        public readonly SemaphoreSlim Entered = new(0);
        public readonly ConcurrentQueue<byte[]> Pieces = new();
        public volatile bool Broken;

        public long DroppedBytes { get; set; }

        public string Text => string.Concat(Pieces.Select(System.Text.Encoding.Latin1.GetString));

        public bool Write(ReadOnlySpan<byte> text)
        {
            Entered.Release();
            Open.Wait(s_patience).Should().BeTrue();
            if (Broken)
                return false;
            Pieces.Enqueue(text.ToArray());
            return true;
        }

        public void Dispose() => Open.Set();
    }

    [Fact]
    public void What_is_written_arrives_whole_and_in_order()
    {
        var target = new Target();
        using var output = new TerminalOutput(target);
        var sent = new byte[300_000];
        new Random(1).NextBytes(sent);
        for (var at = 0; at < sent.Length;)
        {
            var piece = Math.Min(1 + (at % 4099), sent.Length - at);
            output.Write(sent.AsSpan(at, piece));
            at += piece;
        }

        output.Drain(null).Should().BeTrue();
        target.Pieces.SelectMany(p => p).Should().Equal(sent);
        output.WrittenBytes.Should().Be(sent.Length);
        output.LostBytes.Should().Be(0);
    }

    [Fact]
    public void Characters_written_one_by_one_go_out_in_few_writes()
    {
        var target = new Target();
        using var output = new TerminalOutput(target);
        for (var i = 0; i < 4000; i++)
            output.Write("x"u8);
        output.Drain(null).Should().BeTrue();
        target.Text.Should().Be(new string('x', 4000));
        target.Pieces.Count.Should().BeLessThan(1000);
    }

    [Fact]
    public void A_single_character_is_not_kept_back()
    {
        var target = new Target();
        using var output = new TerminalOutput(target);
        output.Write("x"u8);
        target.Entered.Wait(s_patience).Should().BeTrue();
    }

    [Fact]
    public async Task A_writer_waits_for_a_full_console_until_it_is_released()
    {
        var target = new Target();
        target.Open.Reset();
        using var output = new TerminalOutput(target);
        var writer = Task.Run(() => output.Write(new byte[200_000]));
        target.Entered.Wait(s_patience).Should().BeTrue();
        (await Task.WhenAny(writer, Task.Delay(50))).Should().NotBe(writer, "the console is full");
        output.Release();
        await writer.WaitAsync(s_patience);
        output.LostBytes.Should().BeGreaterThan(0).And.BeLessThan(200_000);
        output.Drain(TimeSpan.FromMilliseconds(20)).Should().BeFalse("nobody takes anything");
        output.LostBytes.Should().BeGreaterThan(200_000 - 20_000, "what was never taken is lost");
        target.Open.Set();
    }

    [Fact]
    public void A_target_that_is_gone_is_told_once_and_the_rest_is_counted()
    {
        var target = new Target { Broken = true };
        var gone = new SemaphoreSlim(0);
        using var output = new TerminalOutput(target) { TargetGone = () => gone.Release() };
        output.Write("abc"u8);
        gone.Wait(s_patience).Should().BeTrue();
        output.Write("def"u8);
        output.Drain(null).Should().BeFalse();
        output.LostBytes.Should().Be(6);
        gone.Wait(20).Should().BeFalse();
    }

    [Fact]
    public async Task A_writer_that_waits_goes_on_when_the_target_breaks()
    {
        var target = new Target();
        target.Open.Reset();
        using var output = new TerminalOutput(target);
        var writer = Task.Run(() => output.Write(new byte[200_000]));
        target.Entered.Wait(s_patience).Should().BeTrue();
        target.Broken = true;
        target.Open.Set();
        await writer.WaitAsync(s_patience);
        output.LostBytes.Should().Be(200_000);
    }

    [Fact]
    public async Task A_drain_without_a_limit_is_given_up_by_another_thread()
    {
        var target = new Target();
        target.Open.Reset();
        using var output = new TerminalOutput(target);
        output.Write("abc"u8);
        var drain = Task.Run(() => output.Drain(null));
        (await Task.WhenAny(drain, Task.Delay(20))).Should().NotBe(drain);
        output.Abandon();
        (await drain.WaitAsync(s_patience)).Should().BeFalse();
        target.Open.Set();
    }

    [Fact]
    public void What_a_cap_dropped_counts_as_lost()
    {
        using var output = new TerminalOutput(new Target { DroppedBytes = 7 });
        output.LostBytes.Should().Be(7);
    }

    [Fact]
    public void Nothing_written_is_drained_at_once_without_a_thread()
    {
        using var output = new TerminalOutput(new Target());
        output.Drain(null).Should().BeTrue();
        output.WrittenBytes.Should().Be(0);
    }

    [Fact]
    public void Writing_allocates_nothing_after_the_first_time()
    {
        using var output = new TerminalOutput(new DiscardingTarget());
        output.Write("x"u8);
        Allocation.Of(_ => output.Write("x"u8), 10_000).Should().Be(0);
    }

    private sealed class DiscardingTarget : IConsoleTarget
    {
        public long DroppedBytes => 0;

        public bool Write(ReadOnlySpan<byte> text) => true;

        public void Dispose()
        {
            // Holds nothing.
        }
    }
}
