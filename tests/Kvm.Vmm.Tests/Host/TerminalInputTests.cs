using System.Collections.Concurrent;
using System.IO.Pipes;
using System.Text;
using Kvm.Cli.Tests;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Tests.Host;

public class TerminalInputTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    /// <summary>A guest's console that takes a few bytes at a time.</summary>
    private sealed class Guest
    {
        private readonly StringBuilder _typed = new();
        private volatile int _room = int.MaxValue;

        public int Room
        {
            get => _room;
            set => _room = value;
        }

        public string Typed
        {
            get
            {
                lock (_typed)
                    return _typed.ToString();
            }
        }

        public int Type(ReadOnlySpan<byte> input)
        {
            lock (_typed)
            {
                var taken = Math.Min(input.Length, _room);
                _typed.Append(Encoding.Latin1.GetString(input[..taken]));
                _room -= _room == int.MaxValue ? 0 : taken;
                return taken;
            }
        }

        public void ShouldHave(string text) =>
            SpinWait.SpinUntil(() => Typed == text, s_patience).Should().BeTrue($"the guest should have '{text}' and has '{Typed}'");
    }

    private static int Number(AnonymousPipeServerStream pipe) => (int)pipe.ClientSafePipeHandle.DangerousGetHandle();

    [Fact]
    public void What_stands_in_a_pipe_is_typed_and_its_end_is_no_event()
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.Out);
        var guest = new Guest();
        var hungUp = false;
        using var input = new TerminalInput(Number(pipe), attached: false, guest.Type) { HungUp = () => hungUp = true };
        input.Start();
        pipe.Write("one\x01x"u8);
        guest.ShouldHave("one\x01x");
        pipe.Write(" two"u8);
        pipe.Dispose();
        guest.ShouldHave("one\x01x two");
        input.Dispose();
        hungUp.Should().BeFalse();
    }

    [Fact]
    public void A_guest_that_takes_nothing_gets_the_rest_when_it_is_ready()
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.Out);
        var guest = new Guest { Room = 2 };
        using var input = new TerminalInput(Number(pipe), attached: false, guest.Type);
        input.Start();
        pipe.Write("abcdef"u8);
        guest.ShouldHave("ab");
        guest.Room = 3;
        input.GuestIsReady();
        guest.ShouldHave("abcde");
        guest.Room = 3;
        input.GuestIsReady();
        guest.ShouldHave("abcdef");
        input.LostBytes.Should().Be(0);
    }

    [Fact]
    public async Task A_long_file_reaches_a_slow_guest_whole()
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.Out);
        var guest = new Guest { Room = 0 };
        using var input = new TerminalInput(Number(pipe), attached: false, guest.Type);
        input.Start();
        var text = string.Concat(Enumerable.Range(0, 20_000).Select(i => $"{i};"));
        var writer = Task.Run(() =>
        {
            pipe.Write(Encoding.Latin1.GetBytes(text));
            pipe.Dispose();
        });
        var deadline = Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
        while (guest.Typed.Length < text.Length && Environment.TickCount64 < deadline)
        {
            guest.Room = 1000;
            input.GuestIsReady();
            SpinWait.SpinUntil(() => guest.Room < 1000, 100);
        }

        await writer.WaitAsync(s_patience);
        guest.Typed.Should().Be(text);
        input.LostBytes.Should().Be(0);
    }

    [Fact]
    public void An_empty_input_is_no_input()
    {
        using var file = File.OpenHandle("/dev/null");
        var guest = new Guest();
        using var input = new TerminalInput((int)file.DangerousGetHandle(), attached: false, guest.Type);
        input.Start();
        guest.Typed.Should().BeEmpty();
    }

    [Fact]
    public void A_terminal_in_raw_mode_gives_every_key_and_obeys_ours()
    {
        using var terminal = new PseudoTerminal();
        var fd = (int)terminal.Slave.DangerousGetHandle();
        using var mode = TerminalMode.TryEnter(fd);
        mode.Should().NotBeNull();
        var guest = new Guest();
        var commands = new BlockingCollection<TerminalCommand>();
        using var input = new TerminalInput(fd, attached: true, guest.Type) { Command = commands.Add };
        input.Start();
        terminal.Type("ls\r\x03\x04\x01\x01");
        guest.ShouldHave("ls\r\x03\x04\x01");
        terminal.Type("\x01h\x01x");
        commands.TryTake(out var first, s_patience).Should().BeTrue();
        commands.TryTake(out var second, s_patience).Should().BeTrue();
        (first, second).Should().Be((TerminalCommand.Help, TerminalCommand.Quit));
    }

    [Fact]
    public void A_guest_that_takes_nothing_does_not_hide_our_keys()
    {
        using var terminal = new PseudoTerminal();
        var fd = (int)terminal.Slave.DangerousGetHandle();
        using var mode = TerminalMode.TryEnter(fd);
        var guest = new Guest { Room = 0 };
        using var quit = new ManualResetEventSlim();
        using var input = new TerminalInput(fd, attached: true, guest.Type) { Command = _ => quit.Set() };
        input.Start();
        // More than the queue holds; in pieces, because a terminal takes no more than a few KiB that nobody has read.
        for (var i = 0; i < 40; i++)
        {
            terminal.Type(new string('a', 1000));
            SpinWait.SpinUntil(() => false, 1);
        }

        terminal.Type("\x01x");
        quit.Wait(s_patience).Should().BeTrue();
        input.LostBytes.Should().BeGreaterThan(0);
    }

    [Fact]
    public void A_terminal_that_goes_away_is_a_hang_up()
    {
        var terminal = new PseudoTerminal();
        using var slave = File.OpenHandle(terminal.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        using var hungUp = new ManualResetEventSlim();
        using var input = new TerminalInput((int)slave.DangerousGetHandle(), attached: true, new Guest().Type) { HungUp = hungUp.Set };
        input.Start();
        terminal.Kill();
        hungUp.Wait(s_patience).Should().BeTrue();
    }

    [Fact]
    public void Raw_mode_is_put_back_exactly_once()
    {
        using var terminal = new PseudoTerminal();
        var before = terminal.Modes;
        terminal.IsRaw.Should().BeFalse();
        using var mode = TerminalMode.TryEnter((int)terminal.Slave.DangerousGetHandle())!;
        terminal.IsRaw.Should().BeTrue();
        mode.Restore();
        terminal.Modes.Should().Equal(before);
        mode.Enter().Should().BeTrue();
        terminal.IsRaw.Should().BeTrue();
        mode.Restore();
        mode.Restore();
        terminal.Modes.Should().Equal(before);
    }

    [Fact]
    public void What_is_no_terminal_has_no_raw_mode()
    {
        using var file = File.OpenHandle("/dev/null");
        TerminalMode.TryEnter((int)file.DangerousGetHandle()).Should().BeNull();
        TerminalMode.TryEnter(-1).Should().BeNull();
    }
}
