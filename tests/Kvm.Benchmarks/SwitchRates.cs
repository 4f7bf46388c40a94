using System.Diagnostics;
using System.Globalization;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Interop;
using Kvm.Vmm.Network;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Benchmarks;

/// <summary>Prints what a frame costs: ns of a thread's processor time on one core, and the time of a frame and its answer between processes beside a bare socket's.</summary>
internal static class SwitchRates
{
    private const int Rounds = 7, Trips = 2_000, PingBytes = 64;
    private const long RowNanoseconds = 100_000_000;

    /// <summary>Lines `frame WHAT LENGTH NS BYTES-ALLOCATED` and `trip WHAT MICROSECONDS` with the ratio of the two.</summary>
    public static void Print()
    {
        foreach (int length in (int[])[64, 1514, 65_549])
        {
            var benchmarks = new SwitchBenchmarks { Length = length };
            benchmarks.Open();
            byte[] from = new byte[length], to = new byte[length];
            Row("copied", length, () =>
            {
                for (int i = 0; i < NetDriver.Batch; i++)
                    from.CopyTo(to, 0);
            });
            Row("switched", length, benchmarks.Switch);
            Row("through-devices", length, benchmarks.DevicesAndSwitch);
            benchmarks.End();
        }

        Trip();
    }

    private static void Row(string what, int length, Action batch)
    {
        var rounds = Enumerable.Range(0, Rounds).Select(_ => Measure(batch)).ToList();
        Line($"frame {what} {length} {rounds.Min(r => r.Nanoseconds):F0} {rounds.Min(r => r.Bytes)}");
    }

    private static (double Nanoseconds, long Bytes) Measure(Action batch)
    {
        for (int i = 0; i < 100; i++)
            batch();
        long bytes = GC.GetAllocatedBytesForCurrentThread(), start = HostThread.CurrentCpuTime(), frames = 0;
        while (HostThread.CurrentCpuTime() - start < RowNanoseconds)
        {
            for (int i = 0; i < 20; i++)
                batch();
            frames += 20 * NetDriver.Batch;
        }

        return ((HostThread.CurrentCpuTime() - start) / (double)frames, GC.GetAllocatedBytesForCurrentThread() - bytes);
    }

    /// <summary>A frame to a service of the switch's process and its answer, in turns with as many bytes and their answer over bare sockets.</summary>
    private static void Trip()
    {
        string folder = Directory.CreateTempSubdirectory("kvmsharp-rates").FullName;
        try
        {
            using var managed = new SwitchRegistry(folder).Manage("s", new SwitchOptions(), null, Console.Error.WriteLine, null);
            var echo = new Echo(managed.Switch);
            using var card = new SwitchRegistry(folder).Join("s", new SwitchPortConfig(), null, Console.Error.WriteLine, null);
            using var epoll = new Epoll();
            var wait = new EpollWait(epoll, 0);
            card.WatchBy(0, wait);
            card.Configure(NetOffloads.Modern, 1);
            using var bare = new BareSockets();
            double switched = double.MaxValue, plain = double.MaxValue;
            for (int i = 0; i < Rounds; i++)
            {
                switched = Math.Min(switched, Time(() => Ping(card, epoll, wait, echo.Question)));
                plain = Math.Min(plain, Time(bare.Ping));
            }

            Line($"trip switch {switched:F2}");
            Line($"trip bare {plain:F2}");
            Line($"trip ratio {switched / plain:F3}");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>As a card's thread sleeps: told of an edge, it looks.</summary>
    private static void Ping(SwitchBackend card, Epoll epoll, EpollWait wait, AlignedBuffer question)
    {
        Span<EpollEvent> events = stackalloc EpollEvent[1];
        card.Send(0, [question.Buffer], question.Length);
        while (card.Peek(0).IsEmpty)
        {
            if (epoll.Wait(events, -1) > 0)
                wait.Note();
        }

        card.Take(0);
    }

    private static double Time(Action trip)
    {
        for (int i = 0; i < Trips / 10; i++)
            trip();
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < Trips; i++)
            trip();
        return Stopwatch.GetElapsedTime(start).TotalMicroseconds / Trips;
    }

    private static void Line(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    /// <summary>A service that sends every frame back.</summary>
    private sealed class Echo : IPortListener
    {
        private static readonly MacAddress s_own = new(0x5254_0000_0009), s_card = new(0x5254_0000_0001);

        private readonly byte[] _answer;
        private readonly SwitchPort _port;

        public Echo(NetworkSwitch network)
        {
            _port = network.TryAttach(new PortOptions { Role = PortRole.Service, Mac = s_own }, this, out string why) ?? throw new InvalidOperationException(why);
            _answer = FrameOf(s_card, s_own);
            Question = new AlignedBuffer(NetHeader.Size + PingBytes);
            FrameOf(s_own, s_card).CopyTo(Question.Buffer.Span);
        }

        public AlignedBuffer Question { get; }

        public void FramesWaiting(SwitchPort port)
        {
            for (; !_port.Peek().IsEmpty; _port.Take())
                _port.Send(_answer);
        }

        private static byte[] FrameOf(MacAddress to, MacAddress from)
        {
            byte[] frame = new byte[NetHeader.Size + PingBytes];
            to.Write(frame.AsSpan(NetHeader.Size));
            from.Write(frame.AsSpan(NetHeader.Size + 6));
            return frame;
        }
    }

    /// <summary>Two threads that do nothing but to send and to wait for an answer, each in one call.</summary>
    private sealed class BareSockets : IDisposable
    {
        private readonly (UnixSocket Own, UnixSocket Other) _there = UnixSocket.Pair(), _back = UnixSocket.Pair();
        private readonly byte[] _question = new byte[PingBytes + NetHeader.Size + 4], _answer = new byte[256];
        private readonly Thread _thread;

        public BareSockets()
        {
            _thread = new Thread(() =>
            {
                byte[] got = new byte[256];
                while (_there.Other.Receive(got, out _) is > 0 and var count)
                    _back.Own.Send(got.AsSpan(0, count), wait: false);
            });
            _thread.Start();
        }

        public void Ping()
        {
            _there.Own.Send(_question, wait: false);
            for (int got = 0; got < _question.Length;)
                got += _back.Other.Receive(_answer, out _);
        }

        public void Dispose()
        {
            _there.Own.Dispose();
            _thread.Join();
            _there.Other.Dispose();
            _back.Own.Dispose();
            _back.Other.Dispose();
        }
    }
}
