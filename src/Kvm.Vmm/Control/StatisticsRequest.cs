using System.Buffers;
using System.Globalization;

namespace Kvm.Vmm.Control;

/// <summary><c>stats INTERVAL COUNT</c>: statistics every so many ms, so many times; 0 is without end.</summary>
internal sealed class StatisticsRequest : IControlRequest
{
    public const int LeastIntervalMs = 50;
    public const int MostIntervalMs = 3_600_000;

    public string Name => "stats";

    public string Form => "stats INTERVAL COUNT";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) =>
        words.Count == 2
        && int.TryParse(words[0], NumberStyles.None, CultureInfo.InvariantCulture, out int interval) && interval is >= LeastIntervalMs and <= MostIntervalMs
        && long.TryParse(words[1], NumberStyles.None, CultureInfo.InvariantCulture, out long count)
            ? new Reply(target, interval, count)
            : null;

    private sealed class Reply(ControlTarget target, int interval, long count) : ControlReply
    {
        private readonly bool _endless = count == 0;
        private long _due;

        public override long Due => _due;

        public override bool Samples => true;

        public override bool Advance(long now, IBufferWriter<byte> to)
        {
            _due = now + interval;
            target.WriteStatistics(to);
            return _endless || --count > 0;
        }
    }
}
