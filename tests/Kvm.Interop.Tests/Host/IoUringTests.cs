using System.IO.Pipes;

namespace Kvm.Interop.Tests.Host;

/// <summary>An io_uring over files of this machine.</summary>
public sealed class IoUringTests : IDisposable
{
    private const int Page = 4096;

    private static readonly IoUringOp[] Needed = Enum.GetValues<IoUringOp>();

    private readonly string _path = Path.GetTempFileName();
    private readonly DiskFile _file;
    private readonly HostMapping _memory = HostMapping.Anonymous(16 * Page);

    public IoUringTests()
    {
        File.WriteAllBytes(_path, new byte[8 * Page]);
        _file = DiskFile.Open(_path, readOnly: false, direct: false);
    }

    private int Fd => _file.Handle.Fd;

    public void Dispose()
    {
        _file.Dispose();
        File.Delete(_path);
        _memory.Dispose();
    }

    private static IoUring Make(int entries = 8)
    {
        int result = IoUring.TryCreate(entries, Needed, out IoUring? ring);
        Skip.If(ring is null, $"io_uring: {Errno.NameOf(-result)}");
        return ring!;
    }

    private IoVector Piece(int offset, int length) => new() { IovBase = _memory.Address + offset, IovLen = (nuint)length };

    /// <summary>Submits and takes so many completions, by their tags.</summary>
    private static SortedDictionary<ulong, int> Finish(IoUring ring, int count)
    {
        ring.Submit().Should().Be(0);
        SortedDictionary<ulong, int> results = [];
        while (results.Count < count)
        {
            ring.Wait().Should().Be(0);
            while (ring.TryTake(out ulong tag, out int result))
            {
                results.Add(tag, result);
            }
        }

        ring.HasCompletion.Should().BeFalse();
        return results;
    }

    [SkippableFact]
    public void What_is_written_in_one_piece_and_in_many_is_in_the_file_and_read_back()
    {
        using IoUring ring = Make();
        _memory.Span[..Page].Fill(1);
        _memory.Span.Slice(Page, Page).Fill(2);
        // Arrays of pieces must not move.
        Span<IoVector> pieces = GC.AllocateArray<IoVector>(2, pinned: true);
        (pieces[0], pieces[1]) = (Piece(0, Page), Piece(Page, 512));
        ring.TryTransfer(Fd, write: true, 0, pieces, 7).Should().BeTrue();
        ring.TryTransfer(Fd, write: true, 4 * Page, [Piece(Page, Page)], 8).Should().BeTrue();
        ring.Prepared.Should().Be(2);
        Finish(ring, 2).Should().Equal(new Dictionary<ulong, int> { [7] = Page + 512, [8] = Page });
        ring.Prepared.Should().Be(0);

        byte[] content = File.ReadAllBytes(_path);
        content.AsSpan(0, Page).IndexOfAnyExcept((byte)1).Should().Be(-1);
        content.AsSpan(Page, 512).IndexOfAnyExcept((byte)2).Should().Be(-1);
        content[Page + 512].Should().Be(0);
        content.AsSpan(4 * Page, Page).IndexOfAnyExcept((byte)2).Should().Be(-1);

        (pieces[0], pieces[1]) = (Piece(2 * Page, 16), Piece(3 * Page, 512));
        ring.TryTransfer(Fd, write: false, Page - 16, pieces, 9).Should().BeTrue();
        ring.TryTransfer(Fd, write: false, 4 * Page, [Piece(4 * Page, Page)], 10).Should().BeTrue();
        Finish(ring, 2).Should().Equal(new Dictionary<ulong, int> { [9] = 528, [10] = Page });
        _memory.Span.Slice(2 * Page, 16).IndexOfAnyExcept((byte)1).Should().Be(-1);
        _memory.Span.Slice(3 * Page, 512).IndexOfAnyExcept((byte)2).Should().Be(-1);
        _memory.Span.Slice(4 * Page, Page).IndexOfAnyExcept((byte)2).Should().Be(-1);
    }

    [SkippableFact]
    public void Transfers_at_and_over_the_end_and_of_no_file_say_so()
    {
        using IoUring ring = Make();
        ring.TryTransfer(Fd, write: false, 8 * Page - 512, [Piece(0, Page)], 1);
        ring.TryTransfer(Fd, write: false, 8 * Page, [Piece(0, Page)], 2);
        ring.TryTransfer(-1, write: false, 0, [Piece(0, Page)], 3);
        Finish(ring, 3).Should().Equal(new Dictionary<ulong, int> { [1] = 512, [2] = 0, [3] = -Errno.EBADF });
    }

    [SkippableFact]
    public void Flush_and_holes_and_zeros_do_what_the_system_calls_do()
    {
        File.WriteAllBytes(_path, Enumerable.Repeat((byte)9, 8 * Page).ToArray());
        using IoUring ring = Make();
        // What this file system cannot do it says in both ways.
        int hole = _file.PunchHole(7 * Page, Page), zero = _file.ZeroRange(6 * Page, Page);
        ring.TryFlush(Fd, 1);
        ring.TryPunchHole(Fd, Page, Page, 2);
        ring.TryZeroRange(Fd, 3 * Page, 512, 3);
        Finish(ring, 3).Should().Equal(new Dictionary<ulong, int> { [1] = 0, [2] = hole, [3] = zero });
        byte[] content = File.ReadAllBytes(_path);
        content.Length.Should().Be(8 * Page);
        (content[Page - 1], content[2 * Page], content[3 * Page - 1], content[3 * Page + 512]).Should().Be(((byte)9, (byte)9, (byte)9, (byte)9));
        content.AsSpan(Page, Page).IndexOfAnyExcept(hole == 0 ? (byte)0 : (byte)9).Should().Be(-1);
        content.AsSpan(3 * Page, 512).IndexOfAnyExcept(zero == 0 ? (byte)0 : (byte)9).Should().Be(-1);
    }

    [SkippableFact]
    public void Full_ring_takes_nothing_more_and_what_was_prepared_last_can_be_taken_back()
    {
        using IoUring ring = Make(4);
        for (ulong i = 0; i < (ulong)ring.Entries; i++)
        {
            ring.TryFlush(Fd, i).Should().BeTrue();
        }

        ring.TryFlush(Fd, 99).Should().BeFalse();
        ring.TryWithdraw(out ulong tag).Should().BeTrue();
        tag.Should().Be((ulong)ring.Entries - 1);
        Finish(ring, ring.Entries - 1).Should().HaveCount(ring.Entries - 1).And.OnlyContain(p => p.Value == 0);
        ring.TryWithdraw(out _).Should().BeFalse("the kernel has them");
        ring.TryTake(out _, out _).Should().BeFalse();
    }

    [SkippableFact]
    public void Completion_signals_its_bell_unless_it_is_muted()
    {
        using IoUring ring = Make();
        using EventFd bell = new();
        ring.SignalBy(bell);
        ring.TryFlush(Fd, 1);
        Finish(ring, 1);
        bell.Drain().Should().Be(1);

        ring.Mute();
        ring.TryFlush(Fd, 2);
        ring.Submit();
        ring.Wait();
        bell.Drain().Should().Be(0);
        ring.Unmute().Should().BeTrue("there is one that nobody took");
        ring.TryTake(out ulong tag, out _).Should().BeTrue();
        tag.Should().Be(2);
        ring.Unmute().Should().BeFalse();
        ring.TryFlush(Fd, 3);
        Finish(ring, 1);
        bell.Drain().Should().Be(1);
    }

    [SkippableFact]
    public void Operation_that_would_wait_for_ever_is_given_up()
    {
        using AnonymousPipeServerStream writer = new(PipeDirection.Out, HandleInheritability.None);
        int reader = (int)writer.ClientSafePipeHandle.DangerousGetHandle();
        using IoUring ring = Make();
        ring.TryTransfer(reader, write: false, ulong.MaxValue, [Piece(0, 16)], 5); // a pipe has no positions
        ring.Submit();
        ring.HasCompletion.Should().BeFalse();
        ring.TryCancel(5, 6).Should().BeTrue();
        SortedDictionary<ulong, int> results = Finish(ring, 2);
        results[5].Should().BeOneOf(-Errno.ECANCELED, -Errno.EINTR);
        results[6].Should().BeOneOf(0, -Errno.EBUSY);
        ring.TryCancel(5, 7);
        Finish(ring, 1)[7].Should().Be(-Errno.ENOENT, "it is over");
    }

    [SkippableFact]
    public async Task Wait_ends_when_another_thread_lets_the_operation_go_on()
    {
        using AnonymousPipeServerStream writer = new(PipeDirection.Out, HandleInheritability.None);
        using IoUring ring = Make();
        ring.TryTransfer((int)writer.ClientSafePipeHandle.DangerousGetHandle(), write: false, ulong.MaxValue, [Piece(0, 16)], 5);
        ring.Submit();
        Task<int> waiting = Task.Run(ring.Wait);
        await writer.WriteAsync(new byte[] { 1, 2, 3 });
        (await waiting.WaitAsync(TimeSpan.FromSeconds(30))).Should().Be(0);
        ring.TryTake(out ulong tag, out int result).Should().BeTrue();
        (tag, result).Should().Be((5UL, 3));
    }

    [SkippableFact]
    public void Ring_without_an_operation_that_is_needed_is_not_made()
    {
        Make().Dispose();
        IoUring.TryCreate(4, [IoUringOp.Read, (IoUringOp)255], out IoUring? ring).Should().Be(-Errno.EOPNOTSUPP);
        ring.Should().BeNull();
    }

    [SkippableFact]
    public void Ring_that_is_gone_gives_an_error_and_what_was_prepared_back()
    {
        using IoUring ring = Make();
        ring.TryFlush(Fd, 1);
        ring.Handle.Dispose();
        ring.Invoking(r => r.Submit()).Should().Throw<ObjectDisposedException>();
        ring.TryWithdraw(out ulong tag).Should().BeTrue();
        tag.Should().Be(1);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1 << 15)]
    public void Ring_of_no_or_too_many_entries_is_refused(int entries) =>
        FluentActions.Invoking(() => IoUring.TryCreate(entries, [], out _)).Should().Throw<ArgumentOutOfRangeException>();

    [SkippableFact]
    public void Thousands_of_operations_allocate_nothing_and_go_around_the_ring()
    {
        using IoUring ring = Make(4);
        int wrong = 0;
        // A collection another test causes may charge this thread: what the code itself allocates is in all three.
        long least = long.MaxValue;
        for (int attempt = 0; attempt < 4; attempt++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 2000; i++)
            {
                IoVector piece = Piece(0, 512);
                ring.TryTransfer(Fd, write: true, 0, new ReadOnlySpan<IoVector>(in piece), 1);
                ring.Submit();
                ring.Wait();
                while (ring.TryTake(out _, out int result))
                {
                    wrong += result == 512 ? 0 : 1;
                }
            }

            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        least.Should().Be(0);
        wrong.Should().Be(0);
    }
}
